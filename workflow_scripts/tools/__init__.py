"""What people run by hand, beside the workflow; `python -m workflow_scripts.tools` lists it. May import any room."""
