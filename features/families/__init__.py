"""The families: what is known of a customer, each feature declared once."""
