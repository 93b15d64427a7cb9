"""What a run reports: its page, its costs, alerts and who is notified."""
