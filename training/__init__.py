"""Features and labels in; tuned, calibrated, compared, registered models out."""
