module casemate/guest

go 1.19
