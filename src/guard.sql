/* Assembled by "make elt--1.0.sql" from the tables.sql and functions.sql of each folder in src/: change those. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION elt" to load this file. \quit

-- Made here and not by "schema = elt" in elt.control: so it belongs to the extension and goes with it, and a schema that
-- somebody else made before is refused.
CREATE SCHEMA elt;

