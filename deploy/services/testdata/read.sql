SELECT reference, units FROM grants;
