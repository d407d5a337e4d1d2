"""Object stores: folders, S3, Google Cloud Storage and Azure, behind one small interface.

Knows obstore and its errors. Does not know what is stored.
"""
