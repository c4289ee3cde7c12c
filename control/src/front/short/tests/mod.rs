mod admission;
mod bed;
mod conditions;
mod documents;
mod memory;
mod place;
mod requests;
mod rights;
