"""Nightdesk: headless, supervised futures trading over Rithmic."""
