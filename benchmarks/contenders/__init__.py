"""What a user would run instead of this project, each written as its own documentation does it."""
