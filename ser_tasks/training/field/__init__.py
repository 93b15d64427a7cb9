"""The field's table: the published systems run again, each by its paper's own protocol and by speaker."""
