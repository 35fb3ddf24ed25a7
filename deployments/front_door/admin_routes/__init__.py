"""One file of operators' endpoints per subject; each makes a router from the `FrontDoor` it is given."""
