"""The figures of a page: for each a function that computes what it shows, and one that draws it."""
