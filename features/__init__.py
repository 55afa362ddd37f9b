"""Raw tables in; features and labels at a moment in time out."""
