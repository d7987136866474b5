"""Remedies: the fence, the evacuation, the restoration, and the runs of the playbooks that carry them out."""
