"""One file of endpoints per family; each makes a router from the `FrontDoor` it is given."""
