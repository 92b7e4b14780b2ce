module casemate/guest

go 1.24
