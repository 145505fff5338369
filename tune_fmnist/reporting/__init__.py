"""From the tables to people: statistics, page, screen.  Writes nothing that a search reads."""
