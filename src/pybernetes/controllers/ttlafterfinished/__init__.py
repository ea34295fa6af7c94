"""Deletes finished Jobs when the time that they are kept for is over."""
