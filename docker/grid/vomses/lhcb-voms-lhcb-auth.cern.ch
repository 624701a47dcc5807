"lhcb" "voms-lhcb-auth.cern.ch" "443" "/DC=ch/DC=cern/OU=computers/CN=lhcb-auth.cern.ch" "lhcb"
