"""Every fault that the nemesis can make, by kind."""
