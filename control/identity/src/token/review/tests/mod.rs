mod asking;
mod cache;
mod pod;
