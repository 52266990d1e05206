"""The figures, by experiment; `style` holds what they share."""
