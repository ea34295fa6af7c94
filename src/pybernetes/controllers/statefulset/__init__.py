"""StatefulSet: pods with an identity (a number, a name, claims of their own), made and replaced in order."""
