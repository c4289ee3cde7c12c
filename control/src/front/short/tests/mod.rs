mod admission;
mod bed;
mod conditions;
mod documents;
mod place;
mod requests;
mod rights;
