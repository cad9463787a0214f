"""The sections of the report as values for its templates: pictures, scores, texts."""
