"""Alerts: what changed more in the last week than weeks usually do, with a stated rate of false alarms."""
