"""Image-caption sets: published ones, a user's own files, and webdataset shards."""
