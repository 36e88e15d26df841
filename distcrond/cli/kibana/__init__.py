"""Reports in Kibana: data views, saved searches and a dashboard, as saved objects of version 8.8, and their import.

lens      a panel's data and looks
bundle    all the objects, with ids that stay, so that importing them again replaces them
post      the import through Kibana's API
"""
