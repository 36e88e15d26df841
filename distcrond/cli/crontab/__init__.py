"""Crontabs as cron reads them → job files. Pure: knows neither files nor the daemon.

read      text → entries, each with all that holds for its line, and remarks
convert   entry → the data of a job file
naming    what a job is called
"""
