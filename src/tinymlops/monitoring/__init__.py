"""From the table of windows to verdicts, a picture, a report and a record of each look.

Importing this costs nothing: matplotlib and Evidently are imported when something is drawn.
"""
