"""An OpenID Connect provider with a login page, two users, and the claims of INDIGO IAM."""
