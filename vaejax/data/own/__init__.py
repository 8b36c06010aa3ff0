"""A user's own files and arrays, as data sets like the registered ones."""
