"""Judges behind one interface (`interface.Judge`): the miniature's exact judge, and chat models asked for a number."""
