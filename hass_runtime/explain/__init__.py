"""Why something was decided, and what would have been decided otherwise: from recorded views, pure."""
