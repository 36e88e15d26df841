"""VALUES: frozen dataclasses and enums that every other room speaks in.

This room knows no file, no clock, no network and no other room but `errors`.
"""
