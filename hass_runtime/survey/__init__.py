"""Looks at the whole cloud, now and then, with a bounded number of calls to Nova and Placement."""
