"""Queries and their answers: formats, descriptions of views, the shell and prompt of `ser sql`."""
