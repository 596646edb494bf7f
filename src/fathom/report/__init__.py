"""The report: page, summary, tables and figures."""
