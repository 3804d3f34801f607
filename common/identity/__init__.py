"""What the gateway and the command line both have to know of identity: keys, unsafe settings."""
