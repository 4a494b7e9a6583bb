"""From photographs, films and rasters to files of labels."""
