"""Where the image's Python comes from: which provider has it, and why that one."""
