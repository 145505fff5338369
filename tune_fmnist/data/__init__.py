"""The images: found or fetched, checked, split."""
