"""The files of a search, whoever writes or resumes it."""
