"""Tasks, one file each: ``registry`` lists them."""
