"""Registered models in; scores, reasons and reports out."""
