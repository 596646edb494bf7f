"""Head of the report: answers, the table of verdicts, and their names and numbers as text."""
