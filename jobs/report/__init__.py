"""The report: its page, figures, gallery, and the summary on the console."""
