"""What is known of a call, what role each channel has, and whose emotion may be scored."""
