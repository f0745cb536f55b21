// The helper of the unit tests, in this program too.
#include "../../unit/exec/runs.cpp"
