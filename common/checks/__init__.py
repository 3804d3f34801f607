"""What comes from outside, checked before it is accepted: one set of rules for HTTP and for imports.

What passes can be stored and read back as it was sent; what does not is refused with the fields named.
"""
