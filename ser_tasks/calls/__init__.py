"""The metadata of a call, the role of each channel, and whose emotion may be scored."""
